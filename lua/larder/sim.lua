-- sim.lua - keeps the place of larder.sim, which this release does not have.
require("larder.unbuilt").raise("module", "sim")
