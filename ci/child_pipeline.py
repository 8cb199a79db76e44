"""Writes a GitLab child pipeline with one job per check: `python -m ci.child_pipeline --site SITE >
child.yml`.

ReFrame's own `--ci-generate` cannot be used here: it fails on checks with fixtures (reframe#3344),
and every check that trains takes its data from one. So the jobs are made from the catalogue of
checks, one per check, each a whole ReFrame run.
"""

import argparse
import sys

import yaml

from reframe_tests.catalogue import checks


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


def main(argv) -> None:
    """Prints the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--site", required=True, help="a site of reframe_tests/settings/; also the runner's tag"
    )
    parser.add_argument("--tag", default="acceptance", help="smoke, nightly or acceptance")
    options = parser.parse_args(argv)
    yaml.safe_dump(pipeline(options.site, options.tag), sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main(sys.argv[1:])
