-- codec.lua - the value codec: as the module of the build has it, else alone (value_module.c built as larder.value).
local ok, core = pcall(require, "larder.core")
if ok and core.encode then
    return core
end
local alone, codec = pcall(require, "larder.value")
return alone and codec or error(core, 0)
