-- Drop accepted claims that were written down long ago, but only in the epoch that wrote them down.
-- KEYS[1]  sluice:{bucket}:sale    hash    stamp
-- KEYS[2]  sluice:{bucket}:claims  stream  c -> facts,key
-- ARGV[1]  stamp     epoch.token
-- ARGV[2]  position  drop what comes before it
-- RETURNS  how many were dropped, or -1: another epoch stands there

if redis.call('HGET', KEYS[1], 'stamp') ~= ARGV[1] then
    return -1
end
return redis.call('XTRIM', KEYS[2], 'MINID', '=', ARGV[2])
