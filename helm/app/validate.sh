#!/usr/bin/env bash
# Validates a generated app-config.yaml against the schema and renders it; the exit code says whether it may be committed.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
config="${1:?usage: validate.sh app-config.yaml}"
helm dependency build "$here" > /dev/null
helm lint --strict "$here" --values "$config"
helm template check "$here" --values "$config" > /dev/null
