-- policy.lua - keeps the place of larder.policy, which this release does not have.
require("larder.unbuilt").raise("module", "policy")
