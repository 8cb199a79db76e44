"""Writes a GitLab child pipeline with one job per check: `python -m ci.child_pipeline --site SITE >
child.yml`.

ReFrame's own `--ci-generate` cannot be used here: it fails on checks with fixtures (reframe#3344),
and every check that trains takes its data from one. So the jobs are made from the catalogue of
checks, one per check, each a whole ReFrame run.
"""

import sys
from dataclasses import dataclass

import yaml

from bigearth import cli
from reframe_tests.catalogue import checks


@dataclass(frozen=True)
class Config:
    """Options of the program."""

    site: str = cli.option(
        cli.REQUIRED, "a site of reframe_tests/settings/; also the tag of its runners"
    )
    tag: str = cli.option("acceptance", "smoke, nightly or acceptance")


def pipeline(site: str, tag: str) -> dict:
    """The pipeline as a mapping: a job for each check of the catalogue; a failed one does not hide
    the others."""
    jobs = {
        f"check {name}": {
            "stage": "measure",
            "resource_group": f"bigearth-{site}",  # measurements must not share the machine
            "cache": {"key": f"bigearth-store-{site}", "paths": ["store/"], "when": "always"},
            "script": [
                f"ci/track.sh --site {site} --tag {tag} --store store --out "
                f"artefacts/{name} -n '^{name}$'"
            ],
            "artifacts": {"when": "always", "paths": [f"artefacts/{name}"], "expire_in": "1 year"},
        }
        for name in checks()
    }
    return {
        "stages": ["measure"],
        "default": {"tags": [site], "before_script": ["ci/bootstrap.sh"]},
        **jobs,
    }


def run(config: Config) -> None:
    """Prints the pipeline."""
    yaml.safe_dump(pipeline(config.site, config.tag), sys.stdout, sort_keys=False)


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="ci.child_pipeline",
            description="Write a GitLab child pipeline with one job per check.",
            example="--site mysite > child.yml",
        ),
    )
