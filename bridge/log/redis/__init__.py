"""The log in Redis or Valkey, which several machines share.

Each process follows one stream and serves what it receives from it; the one that holds the lease
appends. `lua/` has the scripts that change the keys: each of them tests everything before its first
write. Needs the `redis` extra.
"""
