-- Set what a bucket's sale may do now: open, paused or closed. The window decides within open.
-- KEYS[1]  sluice:{bucket}:sale  hash  stamp, state
-- ARGV[1]  stamp  epoch.token
-- ARGV[2]  state  open, paused or closed
-- RETURNS  1 set, 0 another epoch stands there, -1 closed already, and that is for good

local sale = redis.call('HMGET', KEYS[1], 'stamp', 'state')
if sale[1] ~= ARGV[1] then
    return 0
end
-- Who slept through the close may still say open: a closed sale is settled, and nobody drains it.
if sale[2] == 'closed' and ARGV[2] ~= 'closed' then
    return -1
end
-- Said again and again, so that it costs no write, and no fsync, while nothing changes.
if sale[2] ~= ARGV[2] then
    redis.call('HSET', KEYS[1], 'state', ARGV[2])
end
return 1
