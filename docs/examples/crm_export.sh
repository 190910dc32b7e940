#!/bin/sh
# Export all accounts for a CRM. An export that fails on the way is cut off, and curl then begins it again, or ends
# with an error. Until it is whole it has another name, so nobody reads half a file.
set -eu
file=$1

curl --silent --show-error --fail --retry 5 --retry-all-errors --retry-max-time 300 \
    "$LEDGER_URL/reports/users?format=csv&groupFilter=retail-*" \
    --header "Authorization: Bearer $LEDGER_KEY" --header "x-operator-id: crm-sync-worker" \
    --output "$file.part"
mv "$file.part" "$file"

echo "$(($(wc -l <"$file") - 1)) accounts"
cat "$file"
