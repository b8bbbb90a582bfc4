-- compat/lrucache.lua - keeps the place of the drop-in for lua-resty-lrucache, which this release does not have.
require("larder.unbuilt").raise("module", "compat.lrucache")
