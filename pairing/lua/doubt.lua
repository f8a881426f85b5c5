-- Codes may be missing here: begin the count of `codes:since` anew, for all who trust it.
-- KEYS[1]  codes:since, see codes.lua
-- Returns  1
-- Clock    the server's, which codes.lua compares with.
local run = redis.call('INFO', 'server'):match('run_id:(%x+)')
redis.call('SET', KEYS[1], redis.call('TIME')[1] .. ' ' .. run)
return 1
