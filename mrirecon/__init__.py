"""mrirecon: MRI reconstruction, every method on the same scan through one operator. Research use only.

The public names stand in `__init__.pyi`; each loads its module when it is first used, so that `import mrirecon` costs
next to nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
