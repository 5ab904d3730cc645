"""The local certificate authority: what lets the forward proxy look into tunnels to providers.

    names       which hosts may be certified (plain functions)
    files       where it lies, who may read it
    authority   making, loading and reissuing it          (imports cryptography)
    leaves      short-lived certificates, minted per host (imports cryptography)
    trust       bundles for clients                       (imports cryptography)
    variables   by which programs find all this

Nothing here is imported before a CA exists or is asked for, and nothing touches a system's store.
"""
