#!/bin/sh
# Fuzzes targets for some minutes each, one process at a time, and says what came of it. A find ends its target.
#
#     rust/fuzz/run.sh [MINUTES] [TARGET ...]
#
# Seeds are read, never changed; what the fuzzer learns, its finds and its logs lie in target/fuzz.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${CARGO_TARGET_DIR:-$here/../../target}/fuzz
mkdir -p "$work"
work=$(cd "$work" && pwd)
minutes=${1:-10}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- wav flac npy recording

PATH=$work/tools/bin:$PATH
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --version 0.13.2 --locked --quiet --root "$work/tools"

final() { sed -n "s/^stat::$1: *//p" "$log"; }
last() { sed -n "s/.* $1: \([0-9]*\).*/\1/p" "$log" | tail -n 1; }

row='%-10s %12s %8s %12s %9s %7s %8s %6s\n'
table=$work/table.txt
status=0
printf "$row" target executions exec/s edges features corpus 'peak MB' finds >"$table"
for target; do
    corpus=$work/corpus/$target finds=$work/finds/$target log=$work/$target.log
    mkdir -p "$corpus" "$finds"
    case $target in
        recording) seeds="$here/seeds/wav $here/seeds/flac" ;;
        *) seeds=$here/seeds/$target ;;
    esac
    # Without a sanitizer, stable Rust will do; src/memory.rs limits allocations. --release leaves the checks of each
    # package to Cargo.toml.
    nice -n 10 cargo fuzz run --fuzz-dir "$here" --target-dir "$work" --sanitizer none --release "$target" \
        "$corpus" $seeds -- -dict="$here/dictionaries/$target" -artifact_prefix="$finds/" \
        -max_total_time=$((60 * minutes)) -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 >"$log" 2>&1 || status=1
    edges="$(last cov)/$(sed -n 's/.*PC tables (\([0-9]*\) PCs).*/\1/p' "$log")"
    printf "$row" "$target" "$(final number_of_executed_units)" "$(final average_exec_per_sec)" "$edges" "$(last ft)" \
        "$(last corp)" "$(final peak_rss_mb)" "$(find "$finds" -type f | wc -l)" >>"$table"
done
cat "$table"
[ $status -eq 0 ] || echo "Finds, or a build that failed: see $work/finds and $work/*.log" >&2
exit $status
