-- One step of the history as CSV: a page of rows as lines that the database writes itself, all in one text,
-- and where the page ended. Most rows hold nothing that must be quoted: those are told by one look. What
-- stands in two cells is written once, which OFFSET 0 is for.
SELECT convert_to(string_agg(l.line, ''), 'UTF8'), count(*),
    (array_agg(l.recorded_at))[count(*)], (array_agg(l."position"))[count(*)]
FROM (
    SELECT {line} AS line, v.recorded_at, v."position"
    FROM (SELECT {parts} FROM ({rows}) AS h OFFSET 0) AS v
) AS l
