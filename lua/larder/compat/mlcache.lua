-- compat/mlcache.lua - keeps the place of the drop-in for lua-resty-mlcache, which this release does not have.
require("larder.unbuilt").raise("module", "compat.mlcache")
