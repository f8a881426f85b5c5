-- Reads all totals of the fleet as one text: hundreds of parts would take a client ten times as long.
--
-- KEYS[1] HASH field > total
-- Returns field, total, field, total and so on, each in a line
return table.concat(redis.call('HGETALL', KEYS[1]), '\n')
