-- What all accounts of some groups and flags add up to, from the sums that are kept: no account is looked at.
-- Groups with the same place count as one. Last how many quotes are old, of any symbol; whom they value is
-- asked only then.
WITH asked AS (
    SELECT * FROM unnest(%(groups)s::text[], %(places)s::int[]) AS asked (group_name, place)
)
SELECT t.place, t.accounts, t.balance, t.credit, t.prevbalance, t.prevmonthbalance,
    coalesce(f.profit, 0), coalesce(f.storage, 0), coalesce(f.commission, 0), coalesce(f.margin, 0),
    coalesce(f.orders, 0), coalesce(f.unvalued, 0),
    (SELECT count(*) FROM quotes WHERE quoted_at < %(oldest)s)
FROM (
    SELECT place, sum(accounts) AS accounts, sum(balance) AS balance, sum(credit) AS credit,
        sum(CASE WHEN balance_day = %(trading_day)s::date THEN balance_before_day ELSE balance END)
            AS prevbalance,
        sum(CASE WHEN balance_month = date_trunc('month', %(server_day)s::date)::date
            THEN balance_before_month ELSE balance END) AS prevmonthbalance
    FROM (TABLE totals UNION ALL TABLE totals_added) AS kept
    JOIN asked USING (group_name)
    WHERE enable::int = ANY(%(flags)s)
    GROUP BY place
) AS t
LEFT JOIN (
    SELECT place, sum(orders) AS orders, sum(unvalued) AS unvalued, sum(profit) AS profit,
        sum(storage) AS storage, sum(commission) AS commission, sum(margin) AS margin
    FROM ({figures}) AS kept
    JOIN asked USING (group_name)
    WHERE enable::int = ANY(%(flags)s)
    GROUP BY place
) AS f USING (place)
WHERE t.accounts > 0
