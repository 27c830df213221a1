import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tiny_models
sys.path.insert(0, str(Path(__file__).parent))  # for tiny_plans
