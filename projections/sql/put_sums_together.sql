-- Put what batches have added into the sums themselves.
WITH of_totals AS (
    DELETE FROM totals_added RETURNING *
),
of_daily AS (
    DELETE FROM daily_added RETURNING *
),
summed AS (
    INSERT INTO totals AS t (
        group_name, enable, balance_day, balance_month, accounts, balance, credit, balance_before_day,
        balance_before_month
    )
    SELECT group_name, enable, balance_day, balance_month, sum(accounts), sum(balance), sum(credit),
        sum(balance_before_day), sum(balance_before_month)
    FROM of_totals
    GROUP BY group_name, enable, balance_day, balance_month
    ON CONFLICT (group_name, enable, balance_day, balance_month) DO UPDATE SET
        accounts = t.accounts + excluded.accounts,
        balance = t.balance + excluded.balance,
        credit = t.credit + excluded.credit,
        balance_before_day = t.balance_before_day + excluded.balance_before_day,
        balance_before_month = t.balance_before_month + excluded.balance_before_month
)
INSERT INTO daily AS d (server_day, group_name, kind, operations, balance_change, credit_change)
SELECT server_day, group_name, kind, sum(operations), sum(balance_change), sum(credit_change)
FROM of_daily
GROUP BY server_day, group_name, kind
ON CONFLICT (server_day, group_name, kind) DO UPDATE SET
    operations = d.operations + excluded.operations,
    balance_change = d.balance_change + excluded.balance_change,
    credit_change = d.credit_change + excluded.credit_change
