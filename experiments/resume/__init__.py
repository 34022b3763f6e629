"""Trainings by Lightning and Trainer resumed from every checkpoint: are they those that were not stopped?"""
