-- At the first write of another day: sums of days and months that are over go together into -infinity, among
-- what has been added.
WITH over AS (
    DELETE FROM totals
    WHERE balance_day NOT IN ('-infinity', %(day)s) OR balance_month NOT IN ('-infinity', %(month)s)
    RETURNING group_name, enable,
        CASE WHEN balance_day = %(day)s THEN balance_day ELSE '-infinity' END AS balance_day,
        CASE WHEN balance_month = %(month)s THEN balance_month ELSE '-infinity' END AS balance_month,
        accounts,
        balance,
        credit,
        CASE WHEN balance_day = %(day)s THEN balance_before_day ELSE balance END AS balance_before_day,
        CASE WHEN balance_month = %(month)s THEN balance_before_month ELSE balance END AS balance_before_month
)
INSERT INTO totals_added (
    group_name, enable, balance_day, balance_month, accounts, balance, credit, balance_before_day,
    balance_before_month
)
SELECT group_name, enable, balance_day, balance_month, accounts, balance, credit, balance_before_day,
    balance_before_month
FROM over
