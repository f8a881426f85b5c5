-- Reads a row. Whoever finds none takes a lease of it, and may fill it while the lease holds.
-- KEYS[1]  the row: "=<era>:<JSON>", or a lease "?<era>:<token>"
-- KEYS[2]  the list of changes, see rows_forget.lua
-- ARGV[1]  token: of the lease, never used before     ARGV[2] life of a lease in ms
-- Returns  the JSON; "?" while another has the lease; nil when the lease is ours now
-- Why      a value of another era was there before somebody forgot everything, or the list was lost.
local era = redis.call('ZRANGE', KEYS[2], 0, 0)[1] or ''
local mark, of, rest = (redis.call('GET', KEYS[1]) or ''):match('^([=?])(%x*):(.*)$')
if mark and of == era then return mark == '=' and rest or '?' end
redis.call('SET', KEYS[1], '?' .. era .. ':' .. ARGV[1], 'PX', ARGV[2])
return false
