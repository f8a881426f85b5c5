-- Adds what one process has counted to the totals of the fleet, each batch once; elects who collects.
--
-- KEYS[1] HASH field > total since Redis was last empty; lives 7 days after the last report
-- KEYS[2] HASH process > "batch ms word": its last batch, when that came, and what it says of itself
-- KEYS[3] STRING the process that collects for the dashboard; a lease of 3 s
-- ARGV    process; batch: a number that grows; word: JSON; counts: "field increment" in lines
-- Returns {1 if this process collects now else 0, now: ms since the epoch}
-- Clock   the server's
-- Why     totals of the fleet, and not of each process, so that nothing falls when a process ends. A
--         process whose answer was lost sends the same batch again: its number tells that it is in.
local process, batch, word, time = ARGV[1], ARGV[2], ARGV[3], redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local last = (redis.call('HGET', KEYS[2], process) or ''):match('^(%d+) ')
if last ~= batch then
  for field, increment in ARGV[4]:gmatch('([^\n]+) (%d+)') do
    redis.call('HINCRBY', KEYS[1], field, increment)
  end
end
redis.call('HSET', KEYS[2], process, batch .. ' ' .. now .. ' ' .. word)
redis.call('EXPIRE', KEYS[1], 604800)
redis.call('EXPIRE', KEYS[2], 604800)
local collects = redis.call('GET', KEYS[3])
if collects and collects ~= process then return {0, tonumber(now)} end
redis.call('SET', KEYS[3], process, 'PX', 3000)
return {1, tonumber(now)}
