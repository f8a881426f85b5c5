-- Forgets rows, values and leases alike, and tells all processes which.
-- KEYS[1]   the list of changes: ZSET row > number of its last change; at 0 its era, a random word
-- KEYS[2..] the rows; none: everything is forgotten, by a new era
-- ARGV[1]   the era to begin if there is none      ARGV[2] rows the list keeps      ARGV[3] its life in s
-- Returns   number of the last change
-- Why       one key: bounded, and safe to lose or to evict. Who meets another era, or has missed more
--           than the list holds, drops all it has.
if #KEYS == 1 then redis.call('DEL', KEYS[1]) end
local number = tonumber(redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2])
if not number then
  redis.call('ZADD', KEYS[1], 0, ARGV[1])
  number = 0
end
for i = 2, #KEYS do
  number = number + 1
  redis.call('ZADD', KEYS[1], number, KEYS[i])
  redis.call('DEL', KEYS[i])
end
local over = redis.call('ZCARD', KEYS[1]) - 1 - ARGV[2]
if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 1, over) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return number
