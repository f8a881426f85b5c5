-- Notes which rows a process has used lately, for those that will start.
-- KEYS[1]  ZSET key of a row > when it was noted, in s
-- ARGV[1]  how many are kept      ARGV[2] life in s      ARGV[3..] the keys
-- Returns  1
-- Clock    the server's: processes of several hosts note their keys
local now = redis.call('TIME')[1]
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], now, ARGV[i]) end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[1] - 1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
