-- The logins of one page of all accounts, by login: from the index alone.
SELECT v.login FROM accounts v ORDER BY v.login {direction} LIMIT %(limit)s OFFSET %(offset)s
