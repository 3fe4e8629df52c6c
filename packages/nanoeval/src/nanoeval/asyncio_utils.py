from nanoeval_core.asyncio_utils import *
