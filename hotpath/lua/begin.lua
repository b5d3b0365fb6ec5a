-- Begin a bucket's epoch: throw away whatever stands under its keys and let it be loaded anew.
-- KEYS[1]  sluice:{bucket}:sale      hash    stamp, state, opens_at_ms, closes_at_ms, accepted, written; freed at none
-- KEYS[2]  sluice:{bucket}:left      hash    emptied
-- KEYS[3]  sluice:{bucket}:limits    hash    emptied
-- KEYS[4]  sluice:{bucket}:members   hash    emptied
-- KEYS[5]  sluice:{bucket}:answers   hash    emptied
-- KEYS[6]  sluice:{bucket}:claims    stream  emptied
-- KEYS[7]  sluice:{bucket}:returned  set     emptied
-- KEYS[8]  sluice:{bucket}:back      hash    emptied
-- KEYS[9]  sluice:{bucket}:transfers    hash  emptied
-- KEYS[10] sluice:{bucket}:transferred  hash  emptied
-- ARGV[1]  stamp         epoch.token
-- ARGV[2]  opens at      ms
-- ARGV[3]  closes at     ms
-- ARGV[4]  old stamp     the epoch that this one ends
-- ARGV[5]  cursor        position up to which the old epoch is written down
-- RETURNS  1 begun, 0 this epoch or a later one stands there already, -1 the old one has claims above the cursor

local function epoch(stamp)
    return tonumber(stamp:match('^(%d+)%.') or 0)
end

local standing = redis.call('HGET', KEYS[1], 'stamp') or ''
if epoch(standing) >= epoch(ARGV[1]) then
    return 0
end
-- What was accepted and not written down yet must never be thrown away.
if standing == ARGV[4] and #redis.call('XRANGE', KEYS[6], '(' .. ARGV[5], '+', 'COUNT', 1) > 0 then
    return -1
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10])
redis.call('HSET', KEYS[1], 'stamp', ARGV[1], 'state', 'loading', 'opens_at_ms', ARGV[2], 'closes_at_ms', ARGV[3])
redis.call('HSET', KEYS[1], 'accepted', 0, 'written', 0)
return 1
