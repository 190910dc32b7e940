-- All rows of a statement as lines of CSV, a row each, in its order.
SELECT convert_to({line}, 'UTF8') FROM (SELECT {parts} FROM ({rows}) AS h OFFSET 0) AS v
