-- What open positions add up to by present group and flag: the totals that the valuation keeps, with the
-- accounts moved that changed group or flag since it last placed them. Exact at any moment.
SELECT group_name, enable, sum(orders)::bigint AS orders, sum(unvalued)::bigint AS unvalued,
    sum(profit) AS profit, sum(storage) AS storage, sum(commission) AS commission, sum(margin) AS margin
FROM (
    SELECT group_name, enable, orders, unvalued, profit, storage, commission, margin FROM figure_totals
    UNION ALL
    SELECT f.group_name, f.enable, -f.orders, -f.unvalued, -f.profit, -f.storage, -f.commission, -f.margin
    FROM figures f WHERE f.login IN (SELECT login FROM regroupings)
    UNION ALL
    SELECT a.group_name, a.enable, f.orders, f.unvalued, f.profit, f.storage, f.commission, f.margin
    FROM figures f JOIN accounts a ON a.login = f.login WHERE f.login IN (SELECT login FROM regroupings)
) placed
GROUP BY group_name, enable
