-- Make the sums of figures anew, after all figures were valued anew: by changes alone, what was wrong stays wrong.
INSERT INTO figure_totals AS t (group_name, enable, orders, unvalued, profit, storage, commission, margin)
SELECT group_name, enable, sum(orders), sum(unvalued), sum(profit), sum(storage), sum(commission), sum(margin)
FROM (
    SELECT group_name, enable, orders, unvalued, profit, storage, commission, margin FROM figures
    UNION ALL
    SELECT group_name, enable, 0, 0, 0, 0, 0, 0 FROM figure_totals
) AS f
GROUP BY group_name, enable
ON CONFLICT (group_name, enable) DO UPDATE SET orders = excluded.orders, unvalued = excluded.unvalued,
    profit = excluded.profit, storage = excluded.storage, commission = excluded.commission,
    margin = excluded.margin
WHERE (t.orders, t.unvalued, t.profit, t.storage, t.commission, t.margin) IS DISTINCT FROM (
    excluded.orders, excluded.unvalued, excluded.profit, excluded.storage, excluded.commission, excluded.margin
)
