-- codec.lua - the value codec of the build: alone (larder.value) where it was built so, else out of the whole module.
local ok, codec = pcall(require, "larder.value")
if ok then
    return codec
end
local path = assert(package.searchpath("larder.core", package.cpath))
return assert(package.loadlib(path, "luaopen_larder_value"))()
