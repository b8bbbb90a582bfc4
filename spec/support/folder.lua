-- folder.lua - temporary folders of specs; what a spec forgets to remove goes when its Lua state is closed.
local shell = require "spec.support.shell"

local folders = {}
local folder = {}

function folder.new()
    local name = shell.run("mktemp -d -t larder-bed-XXXXXX"):match "^(%S+)\n$"
    assert(name, "no temporary folder")
    folders[name] = true
    return name
end

function folder.remove(name)
    folders[name] = nil
    shell.run("rm -rf " .. shell.quote(name))
end

-- A forked child that ends in the ordinary way is not the owner.
local posix = require "spec.support.posix"
local owner = posix.getpid()

local function remove_all()
    for name in pairs(folders) do
        if posix.getpid() == owner then
            folder.remove(name)
        end
    end
end

local new_proxy = rawget(_G, "newproxy")
if new_proxy then
    folder.guard = new_proxy(true)
    getmetatable(folder.guard).__gc = remove_all
else
    folder.guard = setmetatable({}, { __gc = remove_all })
end

return folder
