-- All matched rows by effective time, with what the account held after each by effective time, over the
-- rows up to a position.
SELECT {columns}, h.balance_restated AS balance, h.credit_restated AS credit
FROM (
    SELECT h.*, sum(h.balance_change) OVER w AS balance_restated, sum(h.credit_change) OVER w AS credit_restated
    FROM history h
    WHERE h."position" <= %(seen)s AND h.effective_at <= %(upper_at)s
    WINDOW w AS (PARTITION BY h.login ORDER BY h.effective_at, h."position" ROWS UNBOUNDED PRECEDING)
) AS h
WHERE {where} AND {effective}
ORDER BY h.effective_at {order}, h."position" {order}
