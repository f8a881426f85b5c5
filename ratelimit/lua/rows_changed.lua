-- Which rows were forgotten since a process last asked?
-- KEYS[1]  the list of changes, see rows_forget.lua
-- ARGV[1]  era it met last      ARGV[2] number it heard last
-- Returns  {era, number, {row, ...}}; {era, number} when nobody knows any more, and all must go
-- Why      a row that changes again moves up, so numbers are missing below; what is older than the
--          oldest on the list may have been dropped from it.
local list = redis.call('ZRANGE', KEYS[1], 0, 1, 'WITHSCORES')
local era, oldest = list[1] or '', tonumber(list[4] or 0)
local number = tonumber(redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or 0)
if era ~= ARGV[1] or ARGV[2] + 1 < oldest then return {era, number} end
if number == tonumber(ARGV[2]) then return {era, number, {}} end
return {era, number, redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '+inf')}
