#!/bin/sh
# Runs the tests of asd-dsp under valgrind's memcheck, one binary after the other, and says what came of each:
#
#     rust/valgrind.sh [TEST ...]
#
# Optimised code, as it is shipped. valgrind knows no AVX-512 and hides it from the CPU's features, so the tests take
# AVX2 and plain Rust. Property tests get few cases: memcheck is some thirty times slower.
set -eu
cd "$(dirname "$0")/.."
work=${CARGO_TARGET_DIR:-target}/valgrind
mkdir -p "$work"
work=$(cd "$work" && pwd)
table=$work/table.txt
row='%-22s %7s %7s %8s %12s %8s\n'

export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
cargo test --package asd-dsp --release --lib --tests --no-run --message-format=json --target-dir "$work" \
    >"$work/messages.json"
binaries=$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' "$work/messages.json")

status=0
printf "$row" binary tests errors seconds 'lost, bytes' exit >"$table"
for binary in $binaries; do
    name=$(basename "$binary" | sed 's/-[0-9a-f]*$//')
    case " $* " in "  " | *" $name "*) ;; *) continue ;; esac
    log=$work/$name.log
    start=$(date +%s)
    code=0
    (cd rust/dsp && PROPTEST_CASES=${PROPTEST_CASES:-4} nice -n 10 valgrind --error-exitcode=99 --leak-check=full \
        --errors-for-leak-kinds=definite --log-file="$log.memcheck" "$binary" --test-threads=1) >"$log" 2>&1 || code=$?
    [ "$code" -eq 0 ] || status=1
    printf "$row" "$name" "$(sed -n 's/^test result.* \([0-9]*\) passed.*/\1/p' "$log")" \
        "$(sed -n 's/.*ERROR SUMMARY: \([0-9,]*\) errors.*/\1/p' "$log.memcheck" | tail -n 1)" \
        "$(($(date +%s) - start))" \
        "$(sed -n 's/.*definitely lost: \([0-9,]*\) bytes.*/\1/p' "$log.memcheck" | tail -n 1)" "$code" >>"$table"
done
cat "$table"
[ "$(wc -l <"$table")" -gt 1 ] || { echo "No test is called $*" >&2; exit 1; }
[ $status -eq 0 ] || echo "See $work/*.log and *.log.memcheck" >&2
exit $status
