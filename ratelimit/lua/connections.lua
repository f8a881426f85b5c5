-- Counts a process's open connections against what a client, a network, a process and the fleet may have.
-- One call carries all that changed in the process since its last one, in order.
--
-- KEYS[1] ZSET process > expiry of its lease, ms      KEYS[2] HASH process > connections it holds
-- KEYS[3..] two per change: the SET that the connection joins (a client's or a network's) and the SET
--         that it leaves, or KEYS[1] for none; their members are "process number"
-- ARGV    process; held: connections it holds now; cap of the fleet; cap of a process; lease, ms; seconds
--         that a SET is kept after it grew; then three per change: the connection's number, the most that
--         its new SET may have (0: no limit), and 1 if the connection is a new one, else 0
-- Returns {1 if the process's lease was lost, connections of the others, an answer per change: 0 done,
--         1 its SET is full, 2 the process is full, 3 the fleet is full}
-- Clock   the server's: the processes' hosts may differ.
-- Why     nothing is counted up and down: a process says what it holds, and what it held is gone with
--         its lease. Members of processes without a lease do not count, and go when they are met.
local process, held, cap, mine = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now, none = time[1] * 1000 + math.floor(time[2] / 1000), KEYS[1]
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do redis.call('HDEL', KEYS[2], dead) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local lost = redis.call('ZSCORE', KEYS[1], process) and 0 or 1
redis.call('ZADD', KEYS[1], now + ARGV[5], process)
local others = 0
for _, count in ipairs(redis.call('HVALS', KEYS[2])) do others = others + count end
others = others - (redis.call('HGET', KEYS[2], process) or 0)

local function live(set)
  local count = 0
  for _, member in ipairs(redis.call('SMEMBERS', set)) do
    if redis.call('ZSCORE', KEYS[1], member:match('^%S+')) then count = count + 1 else redis.call('SREM', set, member) end
  end
  return count
end
local answers = { lost, others }
for i = 3, #KEYS, 2 do
  local at = 3 * (i - 1) / 2 + 4
  local joins, leaves, member = KEYS[i], KEYS[i + 1], process .. ' ' .. ARGV[at]
  local most, new, answer = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), 0
  if new == 1 and held >= mine then answer = 2
  elseif new == 1 and others + held >= cap then answer = 3
  elseif joins ~= none and most > 0 and live(joins) >= most then answer = 1 end
  if answer == 0 then
    held = held + new
    if joins ~= none then redis.call('SADD', joins, member) redis.call('EXPIRE', joins, ARGV[6]) end
    if leaves ~= none then redis.call('SREM', leaves, member) end
  end
  answers[#answers + 1] = answer
end
redis.call('HSET', KEYS[2], process, held)
return answers
