-- Fill one hash of a bucket that is being loaded, and no other bucket.
-- KEYS[1]    sluice:{bucket}:sale  hash  stamp, state
-- KEYS[2]    sluice:{bucket}:...   hash  gets the fields
-- ARGV[1]    stamp  epoch.token
-- ARGV[2..]  field, value, field, value ...
-- RETURNS    1 filled, 0 another epoch stands there, or it is not being loaded

local sale = redis.call('HMGET', KEYS[1], 'stamp', 'state')
if sale[1] ~= ARGV[1] or sale[2] ~= 'loading' then
    return 0
end
for i = 2, #ARGV, 2 do
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
return 1
