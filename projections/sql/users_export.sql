-- One step of the users export: the matched accounts of a span of logins, a line each, which the database
-- writes itself.
COPY (
    SELECT {cells}
    FROM ({accounts}) AS v
    WHERE v.login BETWEEN %(first)s AND %(last)s AND {where}
    ORDER BY v.login
) TO STDOUT ({layout})
