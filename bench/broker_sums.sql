-- Work out the sums that the writer keeps, from accounts and history: what is not of the last day, or of
-- its month, is folded.
DELETE FROM totals;
DELETE FROM totals_added;
DELETE FROM daily;
DELETE FROM daily_added;

INSERT INTO totals (
    group_name, enable, balance_day, balance_month, accounts, balance, credit, balance_before_day,
    balance_before_month
)
SELECT group_name, enable, day, month, count(*), sum(balance), sum(credit),
    sum(CASE WHEN day = balance_day THEN balance_before_day ELSE balance END),
    sum(CASE WHEN month = balance_month THEN balance_before_month ELSE balance END)
FROM accounts
CROSS JOIN (SELECT max(trading_day) AS last FROM days) AS present
CROSS JOIN LATERAL (
    SELECT CASE WHEN balance_day = last THEN balance_day ELSE '-infinity' END AS day,
        CASE WHEN balance_month = date_trunc('month', last) THEN balance_month ELSE '-infinity' END AS month
) AS folded
GROUP BY group_name, enable, day, month;

INSERT INTO daily (server_day, group_name, kind, operations, balance_change, credit_change)
SELECT server_day, group_name, kind, count(*), sum(balance_change), sum(credit_change)
FROM history GROUP BY server_day, group_name, kind;
