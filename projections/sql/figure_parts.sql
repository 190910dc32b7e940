-- What open positions add up to by present group and flag, in parts: the totals that the valuation keeps, and
-- what moves with the accounts that changed group or flag since it last placed them. Exact at any moment.
SELECT group_name, enable, orders, unvalued, profit, storage, commission, margin FROM figure_totals
UNION ALL
SELECT f.group_name, f.enable, -f.orders, -f.unvalued, -f.profit, -f.storage, -f.commission, -f.margin
FROM figures f WHERE f.login IN (SELECT login FROM regroupings)
UNION ALL
SELECT a.group_name, a.enable, f.orders, f.unvalued, f.profit, f.storage, f.commission, f.margin
FROM figures f JOIN accounts a ON a.login = f.login WHERE f.login IN (SELECT login FROM regroupings)
