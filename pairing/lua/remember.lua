-- Write a code down as live.
-- KEYS[1]  the code       KEYS[2] codes:since, see codes.lua       KEYS[3] the code it replaces, if any
-- ARGV[1]  seconds to remember it      ARGV[2] 1: codes may be missing here, count anew
-- Returns  1
-- Clock    the server's, which codes.lua compares with.
if ARGV[2] == '1' or redis.call('EXISTS', KEYS[2]) == 0 then
  local run = redis.call('INFO', 'server'):match('run_id:(%x+)')
  redis.call('SET', KEYS[2], redis.call('TIME')[1] .. ' ' .. run)
end
redis.call('SET', KEYS[1], '1', 'EX', ARGV[1])
if KEYS[3] then redis.call('DEL', KEYS[3]) end
return 1
