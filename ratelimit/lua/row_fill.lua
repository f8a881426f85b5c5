-- Fills a row that is leased. Who was forgotten, or took too long, has no lease any more: what it read
-- may be older than the change.
-- KEYS[1]  the row, see row_read.lua      KEYS[2] the list of changes
-- ARGV[1]  token of the lease      ARGV[2] JSON      ARGV[3] life of the value in ms
-- Returns  1 if it was filled
local era = redis.call('ZRANGE', KEYS[2], 0, 0)[1] or ''
if redis.call('GET', KEYS[1]) ~= '?' .. era .. ':' .. ARGV[1] then return 0 end
redis.call('SET', KEYS[1], '=' .. era .. ':' .. ARGV[2], 'PX', ARGV[3])
return 1
