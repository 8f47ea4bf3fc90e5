"""Weights of networks: files of this project, shipped weights, and import of published weights."""

from mrirecon.weights.card import OUTSIDE as OUTSIDE
from mrirecon.weights.card import Card as Card
from mrirecon.weights.card import TrainingRange as TrainingRange
from mrirecon.weights.checkpoint import sha256_of as sha256_of
from mrirecon.weights.importer import Report as Report
from mrirecon.weights.importer import import_weights as import_weights
from mrirecon.weights.prior import denoiser_with as denoiser_with
from mrirecon.weights.prior import load_prior as load_prior
from mrirecon.weights.prior import load_prior_network as load_prior_network
from mrirecon.weights.store import card_of as card_of
from mrirecon.weights.store import load_weights as load_weights
from mrirecon.weights.store import locate as locate
from mrirecon.weights.store import read_card as read_card
from mrirecon.weights.store import save_weights as save_weights
from mrirecon.weights.store import shipped_weights as shipped_weights
