#!/usr/bin/env bash
# Smoke test of recovery, for a shell or a pipeline: every replica that is named is restored into a scratch folder and checked, now.
#
# usage: [RESTORE=restore] [MAX_SECONDS=1800] [MAX_AGE=0] dr-smoke.sh URL...
#   RESTORE      the program
#   MAX_SECONDS  a drill may take this long
#   MAX_AGE      the newest point may be this many seconds old; 0 for any, because that of an idle application is as old as its last change
#
# One line per replica. Exit 0 when all passed, 1 when one did not, 2 when it was called wrongly. Needs jq. In the bucket it writes the result
# of each drill and nothing else.
set -uo pipefail
[ $# -gt 0 ] || { sed -n '2,/^set/{/^# usage/p}' "$0" >&2; exit 2; }
command -v jq > /dev/null || { echo "dr-smoke: jq is not installed" >&2; exit 2; }
failed=0
for url in "$@"; do
    shown=${url%%\?*}
    if ! said=$("${RESTORE:-restore}" drill "$url" -o json); then
        why=$(jq -r '.failure // empty' <<< "$said" 2> /dev/null) || why=""
        echo "FAILED $shown: ${why:-it says why above}"
        failed=1
        continue
    fi
    line=$(jq -r --argjson seconds "${MAX_SECONDS:-1800}" --argjson age "${MAX_AGE:-0}" '
        (.points[0].timestamp | sub("\\.[0-9]+Z$"; "Z") | fromdateiso8601) as $at
        | (now - $at) as $old
        | if .seconds > $seconds then "SLOW   took \(.seconds | ceil) s, and \($seconds) were allowed"
          elif $age > 0 and $old > $age then "OLD    newest point \(.points[0].timestamp), \($old | floor) s ago"
          else "ok     \(.points | length) points in \(.seconds | ceil) s, the newest of \(.points[0].timestamp)" end' <<< "$said") \
        || line="FAILED result not understood"
    echo "${line%% *} $shown: $(sed 's/^[A-Za-z]* *//' <<< "$line")"
    case $line in ok*) ;; *) failed=1 ;; esac
done
exit "$failed"
