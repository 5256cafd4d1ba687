#!/usr/bin/env bash
# Runs every test and ends with one line that sums all test binaries up.
set -uo pipefail
cd "$(dirname "$0")/.."
mkdir -p target
cargo test --workspace --no-fail-fast --lib --bins --tests 2>&1 | tee target/test.log
status=${PIPESTATUS[0]}
grep -E '^SKIPPED|SKIPPED:' target/test.log | sort | uniq -c
awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' target/test.log
exit "$status"
