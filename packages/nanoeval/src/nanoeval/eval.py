from nanoeval_core.errors import *
from nanoeval_core.eval import *
from nanoeval_core.spec import *
from nanoeval_core.task import *
