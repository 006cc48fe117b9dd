"""Clients of the products' protocols: one module each, synchronous, knowing nothing of testbeds.

    tokens      OAuth 2 client credentials, WLCG scopes        webdav      HTTP and WebDAV storage
    thirdparty  HTTP third-party copy: headers, markers        xroot       root:// by xrdcp and xrdfs
    openwhisk   actions, triggers, rules, activations          digests     checksums, computed and parsed

Their errors are in `errors` and descend from `xdc_testbed.errors.XdcError`.
"""
