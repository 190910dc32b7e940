#!/bin/sh
# Book a deposit and know for certain that it is booked, with curl alone.
# The request id and the body stay the same over all tries, so repeating them cannot book twice.
# curl tries again, after Retry-After or after longer and longer pauses, when no answer comes at all and on 408,
# 429, 500, 502, 503 and 504. Everything else is an answer. Without --fail: a 409 must not count as an error.
set -eu

book() { # request id, body
    answer=$(mktemp)
    status=$(curl --silent --output "$answer" --write-out '%{http_code}' \
        --max-time 40 --retry 8 --retry-all-errors --retry-max-time 120 \
        "$LEDGER_URL/balances/deposit" \
        --header "Authorization: Bearer $LEDGER_KEY" --header "x-request-id: $1" --data "$2") || status=000
    operation=$(grep -o '"operationId":"[^"]*"' "$answer" | head -n 1 | cut -d '"' -f 4) || true
    code=$(grep -o '"code":"[^"]*"' "$answer" | head -n 1 | cut -d '"' -f 4) || true
    rm "$answer"
    case $status in
    201) echo "$1: booked as $operation" ;;
    409) echo "$1: booked before as $operation ($code)" ;;
    000 | 408 | 429 | 5??) echo "$1: not known. Send the same again later" && return 75 ;;
    *) echo "$1: this try was refused: $code" && return 1 ;;
    esac
}

book order-1001 '{"login": 910001, "amount": 25.00, "comment": "by retry.sh"}'
book order-1001 '{"login": 910001, "amount": 25.00, "comment": "by retry.sh"}'
book order-1002 '{"login": 910001, "amount": 25.001}' || echo "exit code $?"
