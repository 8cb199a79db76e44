#!/usr/bin/env bash
# One run of the benchmarks with performance tracking, for any CI: run, carry the history on, draw, judge.
#
#   ci/track.sh --site SITE --tag smoke|nightly|acceptance --store DIR --out DIR [-n REGEX]
#
#   --store  folder that CI keeps from run to run; holds ReFrame's report of every run, under a name made of its content,
#            so that two jobs never write one file and copies of the store can be put together with cp
#   -n       only the checks whose names match (ReFrame's option)
#   --out    folder for this run's artefacts: ReFrame's results, figures, report.html, history, summary.md
#
# Exit code: 0 good, 1 a regression, 2 could not measure. The history and the report are made whatever the run's own outcome is.
set -uo pipefail
case "$#:${1:-}" in 1:-h|1:--help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

usage() { printf 'error: %s; usage: ci/track.sh --site SITE --tag TAG --store DIR --out DIR [-n REGEX]\n' "$1" >&2; exit 2; }

site='' tag='' store='' out='' chosen=()
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage "$1 needs a value"
    case $1 in
        --site) site=$2 ;; --tag) tag=$2 ;; --store) store=$2 ;; --out) out=$2 ;; -n) chosen=(-n "$2") ;;
        *) usage "unknown option $1" ;;
    esac
    shift 2
done
for given in "$site" "$tag" "$store" "$out"; do
    [ -n "$given" ] || usage "an option is missing"
done

python=${PYTHON:-.venv/bin/python}
results=$out/reframe
mkdir -p "$store" "$out" || exit 2

"$python" -m reframe_tests --site "$site" --tag "$tag" --results "$results" "${chosen[@]}"
measured=$?
for report in "$results"/reports/run-*.json; do
    [ -f "$report" ] || { echo "error: the run left no report in $results/reports; its messages are above" >&2; exit 2; }
    name=run-$(sha256sum <"$report" | cut -c1-16).json
    { cp "$report" "$store/.$name.$$" && mv "$store/.$name.$$" "$store/$name"; } || exit 2
done

"$python" -m plots history --results "$store" --out "$out/history"
judged=$?
[ "$judged" -le 2 ] || judged=2
cp "$out/history/summary.md" "$out/summary.md" 2>/dev/null || judged=2
[ ! -f "$store/acknowledged.jsonl" ] || cp "$store/acknowledged.jsonl" "$out/"
cp -r "$store" "$out/history/store" || exit 2   # the report shows the whole history beside this run's records
"$python" -m plots figures --results "$results" --out "$out/figures" || echo "no figures were drawn" >&2
"$python" -m plots report --results "$out" --out "$out/report.html" || echo "no report was written" >&2

# The history separates a regression from what could not be measured; the run itself ends with 1 for both.
if [ "$judged" != 0 ]; then
    exit "$judged"
elif [ "$measured" = 0 ] || [ "$measured" = 1 ]; then
    exit "$measured"
fi
exit 2
