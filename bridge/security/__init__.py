"""Client addresses, origins, limits and operators' secrets. Independent of Socket.IO and of the
requests that it protects.
"""
