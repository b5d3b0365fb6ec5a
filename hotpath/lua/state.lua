-- Set what a bucket's sale may do now: open, paused or closed. The window decides within open.
-- KEYS[1]  sluice:{bucket}:sale  hash  stamp, state
-- ARGV[1]  stamp  epoch.token
-- ARGV[2]  state  open, paused or closed
-- RETURNS  1 set, 0 another epoch stands there

if redis.call('HGET', KEYS[1], 'stamp') ~= ARGV[1] then
    return 0
end
-- Said again and again, so that it costs no write, and no fsync, while nothing changes.
if redis.call('HGET', KEYS[1], 'state') ~= ARGV[2] then
    redis.call('HSET', KEYS[1], 'state', ARGV[2])
end
return 1
