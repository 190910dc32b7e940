-- Accounts as they stand, before a rebuild goes on.
SELECT 1::smallint, login, version, balance, credit, balance_before_day, balance_before_month,
    balance_day - date '2000-01-01', balance_month - date '2000-01-01', digits, enable::int,
    group_name, currency, grants, NULL
FROM accounts WHERE login = ANY(%(logins)s)
